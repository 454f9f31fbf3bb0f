"""Tariffs: dated versions that nobody can edit, fuel adjustments, and the tariff of each region.

Revision ID: 20261123_04_tariffs
Revises: 20261123_03_jobs
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261123_04_tariffs"
down_revision = "20261123_03_jobs"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tariffs",
        sa.Column("code", sa.String(length=60), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("utility", sa.String(length=120), nullable=False),
        sa.Column("illustrative", sa.Boolean(), server_default="false", nullable=False),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_tariffs")),
    )
    op.create_table(
        "tariff_versions",
        sa.Column("version_id", sa.String(length=60), nullable=False),
        sa.Column("tariff_code", sa.String(length=60), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=True),
        sa.Column("terms", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("charges", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("sources", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("confidence", sa.Text(), server_default="", nullable=False),
        sa.Column("notes", sa.Text(), server_default="", nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("valid_until > valid_from", name=op.f("ck_tariff_versions_period")),
        postgresql.ExcludeConstraint(
            (sa.text("tariff_code"), "="),
            (sa.text("daterange(valid_from, valid_until)"), "&&"),
            using="gist",
            name="ex_tariff_versions_period",
        ),
        sa.ForeignKeyConstraint(["tariff_code"], ["tariffs.code"], name=op.f("fk_tariff_versions_tariff_code_tariffs")),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_tariff_versions")),
    )
    op.create_table(
        "fuel_adjustments",
        sa.Column("licensee", sa.String(length=40), nullable=False),
        sa.Column("series", sa.String(length=60), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=True),
        sa.Column("rates", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.CheckConstraint("valid_until > valid_from", name=op.f("ck_fuel_adjustments_period")),
        sa.PrimaryKeyConstraint("licensee", "series", "valid_from", name=op.f("pk_fuel_adjustments")),
    )
    op.create_table(
        "region_tariffs",
        sa.Column("region", sa.String(length=100), nullable=False),
        sa.Column("category", sa.String(length=30), nullable=False),
        sa.Column("tariff_code", sa.String(length=60), nullable=False),
        sa.Column("licensee", sa.String(length=40), nullable=True),
        sa.Column("options", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["region"], ["regions.name"], name=op.f("fk_region_tariffs_region_regions")),
        sa.ForeignKeyConstraint(["tariff_code"], ["tariffs.code"], name=op.f("fk_region_tariffs_tariff_code_tariffs")),
        sa.PrimaryKeyConstraint("region", "category", name=op.f("pk_region_tariffs")),
    )
    # Bills rest on a version: it is written once. TRUNCATE is left to whoever owns the tables.
    op.execute("""
        CREATE FUNCTION tariff_versions_are_final() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'tariff version % is final: add a new version', OLD.version_id
                USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'tariff_versions_are_final';
        END $$""")
    op.execute("""
        CREATE TRIGGER tariff_versions_are_final BEFORE UPDATE OR DELETE ON tariff_versions
            FOR EACH ROW EXECUTE FUNCTION tariff_versions_are_final()""")


def downgrade() -> None:
    op.drop_table("region_tariffs")
    op.drop_table("fuel_adjustments")
    op.drop_table("tariff_versions")
    op.execute("DROP FUNCTION tariff_versions_are_final()")
    op.drop_table("tariffs")
