"""See, and use, how sure a language model was, in any LangChain application."""
