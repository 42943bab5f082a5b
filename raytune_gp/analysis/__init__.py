"""What a run found: frames computed once, and the figures and the report drawn from them."""
