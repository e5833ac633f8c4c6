"""How far each device's time has come."""
