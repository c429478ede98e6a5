"""Routoo where people already are: a LangChain chat model and a LlamaIndex LLM over one core."""
