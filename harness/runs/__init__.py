"""Run folders, manifests and the processes of a run. Standard library only: parent and children both import it."""
