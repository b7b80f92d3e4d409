import { existsSync, readFileSync } from 'node:fs';
import type { ShownSetting } from '../console/deps.ts';
import { parseEnvFile } from '../runtime/env-file.ts';
import { settingMeaning } from '../runtime/settings-reference.ts';
import { defaultSettings, secretSettings, settingNames } from '../runtime/settings-schema.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** The variables of AWS's SDK that decide which account is used; their values are no secret. */
const ofAws = ['AWS_PROFILE', 'AWS_ENDPOINT_URL', 'AWS_ENDPOINT_URL_IOT', 'AWS_ENDPOINT_URL_DYNAMODB'];

/** Each setting, what it means, its value, and where it comes from. Nothing secret: a URL is shown without its user and password. */
export function showSettings(environment: Environment, envFile = '.env'): ShownSetting[] {
  const inFile = fileVariables(envFile, environment);
  return [...settingNames, ...ofAws].map((name) => {
    const said = settingMeaning(name);
    const meaning = said === undefined ? {} : { meaning: said };
    const value = environment[name];
    if (value === undefined || value.trim() === '') {
      const usual = defaultSettings[name];
      return { name, ...meaning, ...(usual === undefined ? {} : { value: usual }), from: 'default' };
    }
    return {
      name,
      ...meaning,
      value: secretSettings.includes(name) ? '***' : masked(value),
      from: inFile[name] === value ? '.env' : 'environment',
    };
  });
}

function fileVariables(path: string, environment: Environment): Environment {
  try {
    if (!existsSync(path)) return {};
    // a value of the file may be made of others of the environment; those of the file itself are in it already
    return parseEnvFile(readFileSync(path, 'utf8'), environment).variables;
  } catch {
    return {};
  }
}

const masked = (value: string) => value.replace(/([a-z][a-z0-9+.-]*:\/\/)[^@/\s]*@/gi, '$1***@');
