"""The HTTP gateway: one base address under which clients of any framework and language share a router and a budget."""
