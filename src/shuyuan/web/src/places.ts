// Where a file lay in the folder that was chosen or dropped: two files of one name must not become one.
const places = new WeakMap<File, string>()

export const keepPlace = (file: File, path: string): void => void places.set(file, path)
export const placeOf = (file: File): string => places.get(file) ?? (file.webkitRelativePath || file.name)
