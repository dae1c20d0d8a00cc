{{ config(materialized="table") }}

with

    bounds as (

        select
            coalesce(first_day, cast({{ dbt.date_trunc("year", "current_date") }} as date)) as first_day,
            coalesce(
                end_day, cast({{ dbt.date_trunc("year", dbt.dateadd("year", 2, "current_date")) }} as date)
            ) as end_day
        from {{ ref("int_sale_years") }}

    ),

    final as ({{ days_within("bounds") }})

select *
from final
