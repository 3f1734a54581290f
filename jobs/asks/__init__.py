"""One question looked at closely: what happens as events, who watches for them, and how they are shown."""
