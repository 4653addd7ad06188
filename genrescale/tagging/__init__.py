"""Tag songs with an exported model: files, folders, or a sharded corpus through Ray Data."""
