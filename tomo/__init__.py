"""What only tomograms need. Depends on distres, never the other way."""
