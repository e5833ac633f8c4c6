"""What Headgate costs, measured: ``headgate bench`` runs it, ``README.md`` has the results."""
