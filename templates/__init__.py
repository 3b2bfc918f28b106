"""The Jinja templates of clgen.  A package only so that installs of every kind find the files beside it."""
