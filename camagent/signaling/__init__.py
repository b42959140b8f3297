"""Messages: what crosses the WebSocket, and the link that carries it."""
