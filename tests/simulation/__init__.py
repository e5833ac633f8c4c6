"""The gateway's own objects in a simulated world, where one seed decides everything."""
