"""What tests use of others: kept in folders of this machine, where installers put it once."""
