"""The running gateway: a supervisor and the three lanes it keeps alive."""
