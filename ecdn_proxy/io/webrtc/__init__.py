"""Links between agents over WebRTC data channels, for whom TCP does not reach."""
