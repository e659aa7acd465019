"""Types that everything else is made of: plain Python and NumPy, no framework."""
