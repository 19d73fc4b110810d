"""Makes this folder one to import from: `sky` serves the tests of gridding, of beams and of CLEAN."""
