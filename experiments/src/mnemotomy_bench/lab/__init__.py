"""What every experiment needs: cached results, processes, time and memory."""
