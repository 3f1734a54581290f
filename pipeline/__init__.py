"""LatentMAS on Ray: agents that collaborate through their working memory instead of text."""
