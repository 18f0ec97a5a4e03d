"""A name → a model that answers or embeds, with no network once it is here."""
