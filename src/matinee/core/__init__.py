"""The contract and the machine: knows no task and no verb."""
