"""What a language model writes: reasons, summaries and drafts of goals, each validated before anybody sees it."""
