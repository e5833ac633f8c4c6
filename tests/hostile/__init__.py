"""What is sent to harm: attacks on a running gateway with honest devices beside them."""
