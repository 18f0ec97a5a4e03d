"""The server: the OpenAI-style API, the page's own API, jobs, workspaces and users. One file is one endpoint group."""
