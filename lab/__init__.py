"""The virtual cluster: the inventory's nodes as systemd-nspawn containers on one Linux machine."""
