{{ config(materialized="table") }}

{% set first_day = "cast('" ~ var("calendar_from") ~ "' as date)" %}
{% set end_day = "cast('" ~ var("calendar_until") ~ "' as date)" %}

with

    days as ({{ dbt.date_spine("day", first_day, end_day) }}),

    bounds as (

        select
            coalesce(first_day, cast({{ dbt.date_trunc("year", "current_date") }} as date)) as first_day,
            coalesce(
                end_day, cast({{ dbt.date_trunc("year", dbt.dateadd("year", 2, "current_date")) }} as date)
            ) as end_day
        from {{ ref("int_sale_years") }}

    ),

    final as (

        select cast(days.date_day as date) as date_day
        from days
        inner join
            bounds on cast(days.date_day as date) >= bounds.first_day and cast(days.date_day as date) < bounds.end_day

    )

select *
from final
