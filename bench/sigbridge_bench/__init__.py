"""What a relayed message costs the server, side by side for each pairing of protocols."""
