type LogLine = (about: object, message: string) => void;
export type Logger = {
  readonly info: LogLine;
  readonly warn: LogLine;
  readonly error: LogLine;
  readonly debug: LogLine;
};

export const silentLogger: Logger = { info() {}, warn() {}, error() {}, debug() {} };
