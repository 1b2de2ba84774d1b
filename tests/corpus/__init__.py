"""Small real cores that come with the checkout, what made them, and what must be in them."""
