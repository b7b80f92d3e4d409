/** The oldest Node that `engines` in package.json allows, and one release of each newer line that is kept up. */
export const versions = ['20.19.0', '22.23.5', '24.22.3', '26.12.1'] as const;
