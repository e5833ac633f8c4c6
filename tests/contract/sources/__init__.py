"""The other sides of the sources that come with Headgate."""
