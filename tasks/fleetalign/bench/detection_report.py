def tables(result):
    return ""


def plots(result, folder):
    return []
