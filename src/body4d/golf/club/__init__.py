"""The club: its shaft in one picture, over the frames of a swing, at the ball, and by masks."""
