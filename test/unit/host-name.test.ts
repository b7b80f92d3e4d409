import { describe, expect, it } from 'vitest';
import { hostNameProblem } from '../../runtime/host-name.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { SettingsError } from '../../runtime/settings-error.ts';

describe('a name for the server certificate', () => {
  it.each([
    'gateway',
    'gateway.example',
    'Gateway.Example.',
    'site_gateway-1',
    'xn--mnchen-3ya.example',
    '3com.example',
    `${'a'.repeat(63)}.example`,
    '192.0.2.1',
    'fd00::7',
    'fe80::1%eth0',
  ])('is taken: %s', (name) => {
    expect(hostNameProblem(name)).toBeUndefined();
  });

  it.each([
    ['https://gw', 'is a URL; write the host name alone: gw'],
    ['mqtts://gw:8883/x', 'is a URL; write the host name alone: gw'],
    ['gw:8883', 'has a port; write the host name alone: gw'],
    ['b;c', 'is no host name; write'],
    ['-bad_host!', 'is no host name; write'],
    ['-gw', 'is no host name; write'],
    ['gw-', 'is no host name; write'],
    ['gw..example', 'is no host name; write'],
    ['.', 'is no host name; write'],
    ['[fd00::7]', 'is no host name; write'],
    ['a/b', 'is no host name; write'],
    ['DNS:gw', 'is no host name; write'],
    [`${'a'.repeat(64)}.example`, 'is no host name; write'],
    [Array(100).fill('abc').join('.'), 'is no host name; write'],
    ['*.example.com', 'is a wildcard; write each name'],
    ['10.0.0.256', 'looks like an IP address and is none; write'],
    ['10.0.0', 'looks like an IP address and is none; write'],
    ['münchen.example', 'has other characters than ASCII; write it as xn--mnchen-3ya.example'],
    ['gw\u200b', 'has other characters than ASCII; write it as gw'],
  ])('is refused with what to write: %s', (name, problem) => {
    expect(hostNameProblem(name)).toContain(problem);
  });

  it('is refused at start, each of them by its own line', () => {
    const start = () => loadSettings({ CVM_HOSTNAMES: 'https://gw site,a b;c' });
    expect(start).toThrow(SettingsError);
    expect(start).toThrow(/CVM_HOSTNAMES: "b;c" is no host name.*\n.*CVM_HOSTNAMES: "https:\/\/gw" is a URL/);
    expect(loadSettings({ CVM_HOSTNAMES: 'gw site,10.1.2.3' }).hostnames).toEqual(['gw', 'site', '10.1.2.3']);
  });
});
