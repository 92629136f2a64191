"""What a recipe needs of devices that are not there: memory, speed, hours, cores, disk."""
