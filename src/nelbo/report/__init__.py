"""What is seen of a fitted model, as one page of HTML that needs no network."""
