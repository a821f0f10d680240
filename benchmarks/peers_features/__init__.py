"""What this package and others for the same do, tried out."""
