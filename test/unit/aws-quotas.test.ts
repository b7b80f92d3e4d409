import { describe, expect, it } from 'vitest';
import { createQuotas } from '../../aws-local/quotas.ts';
import { defaultAwsQuotas } from '../../runtime/aws-quotas.ts';
import { loadSettings } from '../../runtime/settings.ts';
import type { SettingsError } from '../../runtime/settings-error.ts';

const problemsOf = (env: Record<string, string>): readonly string[] => {
  try {
    loadSettings(env);
    return [];
  } catch (error) {
    return (error as SettingsError).problems;
  }
};

describe('CVM_QUOTAS', () => {
  it("replaces the defaults of the operations that it names, with or without IAM's prefix", () => {
    const { awsQuotas } = loadSettings({ CVM_QUOTAS: 'UpdateCertificate=20, iot:CreateCertificateFromCsr=30.5' });
    expect(awsQuotas).toEqual({ ...defaultAwsQuotas, UpdateCertificate: 20, CreateCertificateFromCsr: 30.5 });
    expect(loadSettings({}).awsQuotas).toEqual(defaultAwsQuotas);
    expect(loadSettings({ CVM_QUOTAS: 'off' }).awsQuotas).toEqual({});
  });

  it('says everything that is wrong at once, with the nearest name', () => {
    expect(
      problemsOf({
        CVM_QUOTAS: 'UpdateCertificat=20,AttachPolicy,AttachPolicy=0,CreateThing=1,CreateThing=2,Nonsense=1',
      }),
    ).toEqual([
      expect.stringMatching(/^CVM_QUOTAS: "AttachPolicy" is no quota; write .* UpdateCertificate=20/),
      expect.stringMatching(/^CVM_QUOTAS: "AttachPolicy=0": "0" is not a number of calls a second/),
      expect.stringMatching(/^CVM_QUOTAS: AttachPolicy is there twice/),
      expect.stringMatching(/^CVM_QUOTAS: CreateThing is there twice/),
      expect.stringMatching(/^CVM_QUOTAS: there is no quota for "Nonsense": known are AddThingToThingGroup/),
      expect.stringMatching(
        /^CVM_QUOTAS: there is no quota for "UpdateCertificat": perhaps UpdateCertificate is meant/,
      ),
    ]);
  });
});

describe('CVM_AWS_LOCAL_QUOTAS', () => {
  it('is default, off, or quotas in the form of CVM_QUOTAS', () => {
    const quotas = (text: string) => loadSettings({ CVM_AWS_LOCAL_QUOTAS: text }).awsLocal.quotas;
    expect([quotas('default'), quotas('off')]).toEqual(['default', 'off']);
    expect(quotas('UpdateCertificate=200')).toEqual({ ...defaultAwsQuotas, UpdateCertificate: 200 });
  });

  it('says that default and off are words for it, where the text is neither', () => {
    expect(problemsOf({ CVM_AWS_LOCAL_QUOTAS: 'none' }).join()).toMatch(/CVM_AWS_LOCAL_QUOTAS: .*"default".*"off"/);
  });
});

describe('the quotas of the stand-in', () => {
  it.each([
    [0.5, 6],
    [2, 22],
  ])('let through what they say, and a second of it at once: %d a second in ten seconds', (rate, expected) => {
    let ms = 0;
    const quotas = createQuotas({ UpdateCertificate: rate }, () => ms);
    let through = 0;
    for (; ms <= 10_000; ms += 250) if (quotas.take('UpdateCertificate')) through++;
    expect(through).toBe(expected);
  });
});
