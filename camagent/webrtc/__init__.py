"""Viewers: one session, one peer connection and one sender each."""
