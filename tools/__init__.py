"""What makes files of this repository out of other files of it. No part of the package."""
