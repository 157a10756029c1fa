"""What every experiment needs: results kept by their content, processes, time and memory."""
