"""Published facts about current models: windows, prices, scores, and the abilities that follow from them."""
