"""Mail goes out: what is due is sent, and what came of it is written down."""
