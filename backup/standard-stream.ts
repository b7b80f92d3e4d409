/** As the name of a file: standard output, or standard input. */
export const standardStream = '-';
