"""`postbacks bench`: how fast the service is here, each figure beside its ceiling in the same run."""
