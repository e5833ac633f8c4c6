"""What rules have to say of devices: alarms."""
