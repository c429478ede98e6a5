"""What is published of today's models: windows, prices, scores, and the abilities that follow from them."""
