"""What every layer needs: errors, files, versions, progress, models."""
