const formatAsText = 'format the column as text in the spreadsheet, and enter the serials anew';
const unlessIntended = `${formatAsText}; where it is the serial all the same, enrol that device by itself`;
const newToken =
  'leave the token out, and one is made; or draw 32 hex digits or 22 characters of base64url at random, and give that to the device';

/**
 * What a person corrects in a list of devices, by what is wrong. The console and `cvm devices import` take their words from here. The faults of a whole
 * list come last.
 */
export const listCures = {
  'no-serial': 'enter the serial from the label of the device, or delete this line',
  'serial-characters':
    'correct the serial after the label of the device: without space, slash, dot and accents. A mark beside it that says something else belongs into another column',
  'serial-length': 'correct the serial after the label of the device: two serials may stand in one field',
  'serial-rounded': formatAsText,
  'serial-shortened': unlessIntended,
  'serial-date': unlessIntended,
  'serial-twice': 'delete one of the two lines; where they are two devices, correct the serial of one after its label',
  'already-enrolled': 'leave this line out; for a new token: cvm devices reissue SERIAL',
  'token-characters':
    'write the token as the device has it, without spaces, quotes and accents; or leave it out, and one is made',
  'token-length': 'write one token of at most 512 characters into the field, or leave it out, and one is made',
  'token-short': newToken,
  'token-weak': newToken,
  'token-twice': 'give each device a token of its own; or leave the token out, and one is made',
  'site-name':
    'write the site as CVM_SITE of its gateway has it, or leave the field empty: then every gateway serves it',
  'group-name': 'write the claim group as "cvm claims list" shows it, or leave the field empty',
  'aws-name': 'write the name as AWS IoT Core shows it, or leave the field empty: then the usual one is taken',
  placeholder: 'leave the field empty',
  'not-utf8': 'save the list as "CSV UTF-8", and look for a letter that is none of A-Z',
  invisible: 'empty the field, and type its text by hand: it came along when the text was copied',
  quotes: 'take the quotes out; or put the whole field into quotes, and write each quote in it twice',
  'column-count':
    'give this line as many columns as the first one, and put a field that has the separator in it into quotes',
  'column-nameless': 'delete that column, or name it in the first line (pandas writes it unless index=False)',
  'column-unknown': 'rename that column in the first line to one that is known, or delete it',
  'column-twice': 'delete one of the two columns',
  'no-serial-column': 'rename the column that has the serials to "serial"',
  'no-header':
    'let the first line name the columns, such as serial,site; a list of serials alone may begin with the line "serial"',
  'quote-open': 'close the quote in this line, and try again',
  'no-rows': 'write a line for each device, below a first line such as serial,site',
  'no-text': 'open it in the spreadsheet program, save it as "CSV UTF-8", and take that file',
} as const;

export type ListFaultId = keyof typeof listCures;

/** Why one device of a list cannot be enrolled, and what to correct. Never quotes a token. */
export type ListFault = { readonly reason: string; readonly cure: string };

/** @param serial in the place of SERIAL */
export function listFault(id: ListFaultId, reason: string, serial = 'SERIAL'): ListFault {
  return { reason, cure: listCures[id].replace(/SERIAL/g, () => serial) };
}

export const alreadyThere = (serial: string): ListFault =>
  listFault('already-enrolled', `${serial} is enrolled already`, serial);

/** None of the list is read. */
export class UnreadableList extends Error {
  readonly cure: string;

  constructor(id: ListFaultId, reason: string) {
    super(reason);
    this.name = 'UnreadableList';
    this.cure = listCures[id];
  }
}
