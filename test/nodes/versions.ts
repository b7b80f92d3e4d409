/** The oldest Node that `engines` in package.json allows, and one release of each newer line that is kept up. */
export const versions = ['20.19.0', '22.23.3', '24.21.0', '26.10.0'] as const;
