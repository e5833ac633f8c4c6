"""Commands that alarms and anomalies give to devices."""
